"""Published language models: import them as checkpoints, and export runs in the formats that others load.

    files/      readers of safetensors, msgpack, GGUF and torch files: tensors by name, read in parts
    configs/    readers of config.json, GGUF metadata, params.json; LWM's shapes
    names.py    what each format calls our parameters, and how it lays them out
    source.py   a source: files, configuration, names and vocabulary together

Nothing here holds a whole model: a tensor is read, converted and written in blocks of a few megabytes.
"""
