"""The web demo: a Gradio app around the streaming engine. Needs the extra `demo`.

limits        what is accepted and how long it is kept
separation    separates a file into stems on disk and pitch in memory, reporting progress; independent of the web
voicing       which frames are sung at a threshold, and statistics of them
figure        the interactive plot
downloads     files on offer, written on request
sessions      who owns which result; folders that are deleted with their session
guard         restricts files to the session that they belong to
fragments     the HTML that the app adds to gradio's own
fetching      a song by its address, from public hosts only
turns         one song at a time
zero_gpu      the separation on GPUs that Spaces share
messages      errors as clients see them
tools         what assistants may call
app           the page, its events, and `launch`
example_song  a synthetic song
"""
