"""The HTTP edge: load, decide, save, tell."""

from fastapi import APIRouter


def v1_router(tag: str) -> APIRouter:
    """A router below /v1. app.py takes its routes over one by one, so that matching stays one flat list."""
    return APIRouter(prefix="/v1", tags=[tag])
