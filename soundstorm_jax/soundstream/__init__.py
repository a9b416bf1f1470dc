"""SoundStream: audio to tokens of several levels and back (arXiv 2107.03312).

A causal convolutional encoder and decoder with a residual vector quantizer
between them (sections III-A to III-C), trained against discriminators (III-D,
III-E).

Read `network.py`, on `layers.convolutions`, and `quantizer.py` for the codec;
`codec.py` and `tokenizer.py` for its use; `losses.py`, `discriminators.py` and
`task.py` for its training, `teacher.py` for learning from another codec; and
`import_lyra.py` for weights of Google's. Other systems may use quantizer, codec
and tokenizer.
"""
