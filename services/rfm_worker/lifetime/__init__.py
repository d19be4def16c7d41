"""Customer lifetime value: what each customer is expected to bring, or the reason why that is not said.

Pure numpy and scipy: no database, no clock. All but `rules` is to be imported late and in a thread: scipy takes 60 MB
and a second, which only its job needs.
"""
