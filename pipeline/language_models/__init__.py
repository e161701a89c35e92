"""Language models that answer questions: one protocol for a local model and for a server, and a cache of replies."""
