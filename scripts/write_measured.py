"""Write the measured figures of docs/results into the tables of the README and of docs/measured.md.

python scripts/write_measured.py
"""

from site_pages.measured import main

if __name__ == "__main__":
    main()
