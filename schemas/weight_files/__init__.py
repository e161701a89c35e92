"""Files of published models: pickles and torch's zip files, read without executing code, the header of GGUF files, and
text tokenizers.

Needs ml_dtypes, which is installed with jax. Tokenizer and trainer read published models with these modules.
"""
