"""Write the measured figures of docs/results into the README and the pages in docs.

python scripts/write_measured.py
"""

from site_pages.measured import main

if __name__ == "__main__":
    main()
