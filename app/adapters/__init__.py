"""The world outside, one module per sharp library; matched to the ports by shape."""
