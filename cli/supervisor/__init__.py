"""Runs the whole stack of one checkout: starts it in order, keeps it alive, stops it in order."""
