"""Suites of questions with known answers, asked of any language model, with scores and confidence intervals."""
