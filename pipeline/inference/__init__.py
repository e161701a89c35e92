"""A trained model that answers: text, pictures and videos in, text out.

Only this package and `pipeline/cli/generate.py` import the trainer: a chat needs the tokenizers and decoders of the
pipeline and the model of the trainer, and neither may know the other.
"""
