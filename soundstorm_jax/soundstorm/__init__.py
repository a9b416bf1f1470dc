"""SoundStorm: speech tokens in parallel (arXiv 2305.09636).

A Conformer predicts the codec's tokens from semantic tokens (section 2.1); in
training a mask hides some of them (2.2), and in decoding confidence decides
which to settle, level by level (2.3).

Read `masking.py` for what training hides, `network.py` for what predicts it and
`task.py` for the step; then, of decoding, `schedule.py` and `maskgit.py` for
one level, `decode.py` for all, and `sampler.py` for the compiled whole.
`config.py` has the settings; `codebook_start.py` and `int8.py` are not in the
paper.
"""
