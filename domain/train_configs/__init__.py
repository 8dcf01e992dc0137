"""Training configs: named, versioned YAML files; the documents' one config is the newest of them."""
