"""Formats and types that the packages share: vocabulary, tables, shards, dataset card, fingerprints, errors."""
