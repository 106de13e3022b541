"""The web demo: a Gradio app around the streaming engine. Needs the extra `demo`.

limits        what is accepted and how long it is kept
separation    a file in; stems on disk, pitch in memory, seconds of audio on the way. Knows nothing of the web
voicing       which frames are sung at a threshold, and facts about them
figure        the interactive plot
downloads     what can be fetched, written when it is asked for
sessions      who owns which result; folders that go when their owner does
guard         files reach only the session that they belong to
fragments     the pieces of HTML that the app adds to gradio's own
app           the page, its events, and `launch`
example_song  a song made by formulas
"""
