! Solves a linear system by Gauss elimination, sorts, writes and reads a file; all in double precision.
program matrix
  implicit none
  integer, parameter :: n = 60
  real(8) :: a(n, n), b(n), x(n), factor, residual
  real(8) :: original(n, n), right(n)
  integer :: i, j, k, unit, records
  character(len=40) :: line
  do i = 1, n
    do j = 1, n
      a(i, j) = 1.0d0 / real(i + j - 1, 8)
    end do
    a(i, i) = a(i, i) + 2.0d0
    b(i) = sin(real(i, 8))
  end do
  original = a
  right = b
  do k = 1, n - 1
    do i = k + 1, n
      factor = a(i, k) / a(k, k)
      a(i, k:n) = a(i, k:n) - factor * a(k, k:n)
      b(i) = b(i) - factor * b(k)
    end do
  end do
  do i = n, 1, -1
    x(i) = (b(i) - dot_product(a(i, i + 1:n), x(i + 1:n))) / a(i, i)
  end do
  residual = maxval(abs(matmul(original, x) - right))
  print '(a, l1)', 'solved: ', residual < 1.0d-12
  print '(a, f20.15)', 'first: ', x(1)
  print '(a, f20.15)', 'sum:   ', sum(x)
  open (newunit=unit, file='numbers.txt', status='replace')
  do i = 1, n
    write (unit, '(i4, f20.15)') i, x(i)
  end do
  rewind (unit)
  records = 0
  do
    read (unit, '(a)', end=10) line
    records = records + 1
  end do
10 close (unit)
  print '(a, i0)', 'records: ', records
end program matrix
