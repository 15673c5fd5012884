"""Erased tenants, which were markers beside the private keys before."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Create the table; the next start of a worker moves the markers."""
    op.create_table(
        "erasure",
        sa.Column("tenant", sa.Text, primary_key=True),
        sa.Column("erased_ms", sa.BigInteger, nullable=False),
    )
