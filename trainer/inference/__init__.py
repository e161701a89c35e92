"""Generation: prefill in blocks, a paged key/value cache over devices, sampling, stop conditions.

`Engine` is what other packages use; `requests.py` has what goes in and comes out.
"""
