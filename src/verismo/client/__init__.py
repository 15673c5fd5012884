"""What an application imports: a transport that verifies answers first."""
