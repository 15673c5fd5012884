"""Alembic revisions of the state database, run by `verismo db upgrade`; never edited once out."""
