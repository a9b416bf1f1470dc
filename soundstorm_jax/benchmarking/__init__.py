"""Times of SoundStorm and AudioLM, side by side."""
