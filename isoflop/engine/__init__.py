"""Jobs through an engine, told as notices: dispatch.py joins protocol, queue and policy. None touches the store."""
