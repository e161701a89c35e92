"""The contracts: vocabulary, records, the packed-sequence format, dataset card, fingerprints, errors."""
