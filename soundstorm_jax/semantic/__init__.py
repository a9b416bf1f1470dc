"""Semantic tokens: what is said (AudioLM, arXiv 2209.03143, section III-B).

Nearest k-means centres of an encoder's features, 25 a second. Three runs make
them: `encoder_task.py` trains a Conformer, by BEST-RQ (arXiv 2202.01855) and on
phones, which `align.py` finds; `fit.py` clusters its features; `tokens_task.py`
goes on with encoder and centres together.

Read `network.py` (and `whisper.py`, whose features it may read), `examples.py`
and `perturb.py` for what it hears, `best_rq.py` and `phone_losses.py` for what
it is asked; `learned.py` is the tokenizer that results, and `kmeans.py` on
`mfcc.py` one without a network.
"""
