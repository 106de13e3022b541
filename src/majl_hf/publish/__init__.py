"""Models, datasets and Spaces on the Hub.

`model`, `dataset`, `space` put a folder together as it has to look there; `hub` alone talks to the Hub and says in
plain words what went wrong, also to those who only read from it.
"""
