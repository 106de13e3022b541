"""Models, datasets and Spaces on the Hub.

`model`, `dataset` and `space` prepare a folder for upload; only `hub` talks to the Hub and explains its errors.
"""
