// Goal: files and folders: statx, stat, getdents, openat2, links, modes, times, big offsets, extended
// attributes.
#include "guest.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/time.h>
#include <sys/xattr.h>

static int by_name(const struct dirent** a, const struct dirent** b) {
  return strcmp((*a)->d_name, (*b)->d_name);
}

static void stats(void) {
  struct stat old;
  struct statx now;
  SHOW_RC(stat("file", &old));
  SHOW_RC(statx(AT_FDCWD, "file", 0, STATX_BASIC_STATS, &now));
  SHOW(old.st_ino == now.stx_ino && old.st_size == (off_t)now.stx_size &&
       (unsigned)old.st_mtim.tv_nsec == now.stx_mtime.tv_nsec);
  SHOW(old.st_dev == makedev(now.stx_dev_major, now.stx_dev_minor));
  printf("mode %o links %d size %lld blocks %d\n", old.st_mode, (int)old.st_nlink, (long long)old.st_size,
         old.st_blocks > 0);
  SHOW_RC(stat("/dev/null", &old));
  SHOW(major(old.st_rdev) * 1000 + minor(old.st_rdev));
  SHOW_RC(fstatat(AT_FDCWD, "link", &old, AT_SYMLINK_NOFOLLOW));
  SHOW(S_ISLNK(old.st_mode));
  SHOW_RC(fstat(1000, &old));
  SHOW_RC(syscall(SYS_statx, AT_FDCWD, "file", 0, STATX_BASIC_STATS, (void*)16));
  struct statfs fs;
  SHOW_RC(statfs("/proc", &fs));
  SHOW(fs.f_type);
  struct timespec times[2] = {{1000000000, 123456789}, {0, UTIME_OMIT}};
  SHOW_RC(utimensat(AT_FDCWD, "file", times, 0));
  SHOW_RC(stat("file", &old));
  SHOW(old.st_atim.tv_nsec);
}

static void folders(void) {
  SHOW_RC(mkdir("folder", 0755));
  for (int i = 0; i < 200; ++i) {
    char name[64];
    snprintf(name, sizeof name, "folder/entry %d with a long name", i);
    int fd = open(name, O_CREAT | O_WRONLY | O_EXCL, 0600);
    CHECK(fd >= 0);
    close(fd);
  }
  struct dirent** entries;
  int count = scandir("folder", &entries, NULL, by_name);
  SHOW(count);
  printf("%s / %s type %d\n", entries[0]->d_name, entries[count - 1]->d_name, entries[count - 1]->d_type);
  DIR* folder = opendir("folder");
  for (int i = 0; i < 50; ++i) readdir(folder);
  long at = telldir(folder);
  struct dirent* entry = readdir(folder);
  char name[256];
  snprintf(name, sizeof name, "%s", entry->d_name);
  for (int i = 0; i < 50; ++i) readdir(folder);
  seekdir(folder, at);
  SHOW(strcmp(readdir(folder)->d_name, name));
  closedir(folder);
  int fd = open("folder", O_RDONLY | O_DIRECTORY);
  char tiny[8];
  SHOW_RC(syscall(SYS_getdents64, fd, tiny, sizeof tiny));
  SHOW_RC(rmdir("folder"));
  SHOW_RC(unlinkat(fd, "entry 7 with a long name", 0));
  SHOW_RC(faccessat(fd, "entry 7 with a long name", F_OK, 0));
  SHOW_RC(syscall(SYS_getdents64, 0, tiny, sizeof tiny));
}

static void opens(void) {
  struct open_how how = {.flags = O_RDONLY, .resolve = RESOLVE_BENEATH};
  SHOW_OK(syscall(SYS_openat2, AT_FDCWD, "file", &how, sizeof how));
  SHOW_RC(syscall(SYS_openat2, AT_FDCWD, "/etc/passwd", &how, sizeof how));
  SHOW_RC(syscall(SYS_openat2, AT_FDCWD, "../x", &how, sizeof how));
  how.resolve = RESOLVE_NO_SYMLINKS;
  SHOW_RC(syscall(SYS_openat2, AT_FDCWD, "link", &how, sizeof how));
  SHOW_RC(syscall(SYS_openat2, AT_FDCWD, "file", &how, 3));
  SHOW_RC(open("file", O_RDONLY | O_DIRECTORY));
  SHOW_RC(open("file", O_CREAT | O_EXCL, 0600));
  SHOW_RC(open("link", O_RDONLY | O_NOFOLLOW));
  SHOW_RC(open((const char*)16, O_RDONLY));
  SHOW_RC(open("", O_RDONLY));
  SHOW_OK(open(".", O_TMPFILE | O_RDWR, 0600));
}

int main(void) {
  umask(022);
  int fd = open("file", O_RDWR | O_CREAT | O_TRUNC, 0666);
  CHECK(write(fd, "contents", 8) == 8);
  SHOW_RC(symlink("file", "link"));
  SHOW_RC(link("file", "second"));
  stats();
  folders();
  opens();
  char target[64] = "";
  SHOW_RC(readlink("link", target, sizeof target));
  SHOW_RC(readlink("file", target, sizeof target));
  SHOW_RC(lseek(fd, 0x1234567890LL, SEEK_SET));
  SHOW_RC(write(fd, "x", 1));
  SHOW_RC(lseek(fd, 0, SEEK_DATA));
  SHOW(lseek(fd, 4096 * 16, SEEK_DATA) > 0x1234000000LL);
  SHOW_RC(ftruncate(fd, 0x100000000LL));
  SHOW_RC(fallocate(fd, 0, 0, 8192));
  SHOW_RC(posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED));
  SHOW_RC(rename("second", "third"));
  SHOW_RC(renameat2(AT_FDCWD, "third", AT_FDCWD, "link", RENAME_NOREPLACE));
  SHOW_RC(renameat2(AT_FDCWD, "third", AT_FDCWD, "link", RENAME_EXCHANGE));
  SHOW_RC(chmod("link", 0400));
  SHOW_RC(truncate("/nonexistent", 1));
  SHOW_RC(fchownat(AT_FDCWD, "third", 1, 2, AT_SYMLINK_NOFOLLOW) == 0 || errno == EPERM);
  SHOW_RC(mkfifo("fifo", 0600));
  SHOW_RC(open("fifo", O_WRONLY | O_NONBLOCK));
  SHOW_RC(fsetxattr(fd, "user.colour", "blue", 4, 0) == 0 || errno == EOPNOTSUPP);
  SHOW_RC(unlink("folder"));
  SHOW_RC(fsync(fd));
  SHOW_RC(syncfs(fd));
  return guest_end();
}
