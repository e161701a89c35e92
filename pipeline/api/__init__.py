"""The Python API, which `import longreel` offers: jobs, tables, datasets and models. See docs/python_api.md."""
