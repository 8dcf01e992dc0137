"""De-identification's reach into the world: a fast scanner, ciphers, keys, policies on disk."""
