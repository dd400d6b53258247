"""Damaged files of every kind for the command line: nothing may crash, hang, fill the memory or come out wrong.

In the folder `tests`:

    python -m fuzzing --kind model --count 20000 --log models.jsonl
    python -m fuzzing --log models.jsonl --count 0      # the table again
    python -m fuzzing.judge model 17 0 FOLDER           # one case: leaves its files in FOLDER, prints the verdict

Every case is a line of the log; with the same log, what is done is not done again.
"""
