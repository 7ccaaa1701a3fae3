"""Bad inputs, tried repeatably: families of cases, the oracle that judges what came of them, the processes that try."""
