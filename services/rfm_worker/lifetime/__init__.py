"""Customer lifetime value: what each customer is expected to bring, or the reason why that is not said.

Pure numpy and scipy: no database, no clock. Import it lazily: scipy takes 60 MB that only its job needs.
"""
