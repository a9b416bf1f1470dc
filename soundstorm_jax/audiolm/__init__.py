"""AudioLM's acoustic stages: the baseline, token by token (arXiv 2209.03143).

The coarse stage writes the first levels from semantic tokens, the fine stage
the others from those (section III-D); SoundStorm's paper compares with both
(arXiv 2305.09636, section 4).

Read `flattening.py` for the order of tokens, `conditioning.py` for what stands
before them, `network.py` for a stage and `task.py` for its training; then
`sampler.py`, on `layers.cached_decoding`, for both stages as one program, and
`cost.py` for what that program does step by step.
"""
