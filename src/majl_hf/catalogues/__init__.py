"""Catalogues: many songs, any number of machines, nothing lost and nothing done twice.

sources      SOURCE -> names and addresses of songs
run          what is left to do, by the manifest of DEST; progress; the summary
*_engine     hands songs to workers: processes of this machine, or actors of a Ray cluster
worker       a process with a model, which its parent watches and ends at a limit
songs        one song: fetch, separate, deliver
labels       f0 and notes as rows of the package's schema
manifest     what is done, in parts that are complete when they appear
destination  a folder or an object store
"""
