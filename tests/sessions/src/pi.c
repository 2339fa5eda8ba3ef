// Pi by the rectangle rule over MPI: pi STEPS.  Rank 0 prints twelve digits and what each rank has added.
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>

int main(int argc, char** argv) {
  MPI_Init(&argc, &argv);
  int rank = 0, ranks = 1;
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  MPI_Comm_size(MPI_COMM_WORLD, &ranks);
  const long steps = argc > 1 ? atol(argv[1]) : 1000000;
  double sum = 0;
  for (long i = rank; i < steps; i += ranks) {
    const double x = ((double)i + 0.5) / (double)steps;
    sum += 4.0 / (1.0 + x * x);
  }
  double parts[64] = {0};
  MPI_Gather(&sum, 1, MPI_DOUBLE, parts, 1, MPI_DOUBLE, 0, MPI_COMM_WORLD);
  if (rank == 0) {
    double total = 0;
    for (int i = 0; i < ranks; ++i) {
      printf("rank %d: %.10f\n", i, parts[i] / (double)steps);
      total += parts[i];
    }
    printf("pi is %.12f\n", total / (double)steps);
  }
  MPI_Finalize();
  return 0;
}
