"""Train a decoder on packed sequences of up to a million tokens, and sample from it.

One legend of axes for the whole package; einsum subscripts and suffixes such as `q_BSNH` use it:

    B batch        S sequence       D model dim      N query heads    K key/value heads
    H head dim     F feed-forward   V vocabulary     L layers         G query heads a key/value head (N = K·G)
"""
