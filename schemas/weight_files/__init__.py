"""Files of published weights: pickles and torch's zip files, read without executing code, and the header of GGUF files.

Needs ml_dtypes, which is installed with jax. Tokenizer and trainer read published models with these modules.
"""
