"""A pool of processes that compute: pool.py TASKS STEPS."""
import multiprocessing
import sys


def work(task):
    seed, steps = task
    x, total = seed, 0
    for _ in range(steps):
        x = (x * 1103515245 + 12345) % 2147483648
        total = (total + x) % 1000000007
    return total


if __name__ == "__main__":
    count, steps = int(sys.argv[1]), int(sys.argv[2])
    with multiprocessing.Pool() as pool:
        for seed, result in enumerate(pool.map(work, [(seed, steps) for seed in range(count)], chunksize=1)):
            print(seed, result)
