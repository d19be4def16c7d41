"""Measurements with recorded results. Each compares two things in one run and reports medians of several runs."""
