"""Redis rings: a bell for the hosts (arq) and news for the followers (pub/sub). Nothing that matters is kept there."""
