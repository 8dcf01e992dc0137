"""Small programs that stand in for trainers: real processes, standard library only."""
