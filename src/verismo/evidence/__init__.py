"""EVIDENCE, pure: what is shown about answers and runs beside their proof. No I/O, no clock."""
