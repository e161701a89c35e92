"""RULER's eleven synthetic tasks (arXiv 2404.06654): retrieval, variable tracking, and counts of words.

The tasks, their sizes and their scores are RULER's; the wording is our own, so that figures compare models that
Longreel measured, not with published tables. RULER's two question-answering tasks need data sets and are left out.
"""
