"""The gateway, from the socket of a model server to OpenAI's own client."""
