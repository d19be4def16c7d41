"""The gateway's second process: takes uploaded files apart and turns them into the events that the REST API makes."""
