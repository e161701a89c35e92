"""Engines: where jobs run.

engine.py     Engine: what an engine implements; starting a pipeline and waiting for it
local.py      threads of this process
other.py      any Beam runner, by its own options
dask.py       a Dask cluster
dataflow.py   Google Cloud Dataflow
"""
