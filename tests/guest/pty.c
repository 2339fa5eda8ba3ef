// Goal: a terminal of one's own: controlling terminal, ^C and ^Z from the master, foreground groups, window
// size, raw mode, background reads and writes.
#include "guest.h"

#include <fcntl.h>
#include <poll.h>
#include <pty.h>
#include <sys/ioctl.h>
#include <termios.h>

static int master, slave;

static void type(const char* keys) { CHECK(write(master, keys, strlen(keys)) == (ssize_t)strlen(keys)); }

// Reads from the master until `wanted` has come.
static void expect(const char* wanted) {
  char text[512];
  size_t have = 0;
  struct pollfd p = {master, POLLIN, 0};
  while (have < sizeof text - 1 && poll(&p, 1, 5000) > 0) {
    ssize_t got = read(master, text + have, 1);
    if (got <= 0) break;
    have += (size_t)got;
    text[have] = 0;
    if (strstr(text, wanted) != NULL) break;
  }
  text[have] = 0;
  printf("from the terminal:");
  for (size_t i = 0; i < have; ++i) {
    if (text[i] >= ' ') {
      printf("%c", text[i]);
    } else {
      printf("\\%o", text[i]);
    }
  }
  printf("\n");
}

static pid_t on_terminal(void (*body)(void)) {
  fflush(stdout);
  pid_t pid = fork();
  if (pid == 0) {
    close(master);
    setsid();
    if (ioctl(slave, TIOCSCTTY, 0) != 0) _exit(90);
    dup2(slave, 0), dup2(slave, 1), dup2(slave, 2);
    body();
    _exit(0);
  }
  return pid;
}

static volatile sig_atomic_t winch;
static void on_winch(int sig) {
  (void)sig;
  winch = 1;
}

static void cat_lines(void) {
  char line[100];
  printf("ready %d %d\n", isatty(0), tcgetpgrp(0) == getpid());
  while (fgets(line, sizeof line, stdin) != NULL) printf("got %s", line);
  printf("end of input\n");
  fflush(stdout);
  exit(12);
}
static void wait_for_keys(void) {
  printf("ready\n");
  fflush(stdout);
  for (;;) pause();
}
static void window(void) {
  signal(SIGWINCH, on_winch);
  printf("ready\n");
  fflush(stdout);
  while (winch == 0) usleep(1000);
  struct winsize size;
  ioctl(0, TIOCGWINSZ, &size);
  printf("size %d x %d\n", size.ws_col, size.ws_row);
  fflush(stdout);
  exit(0);
}
// A small job-control shell: the child runs in the foreground, is stopped by ^Z, goes on in the background,
// returns.
static void job_control(void) {
  signal(SIGTTOU, SIG_IGN);
  int status = 0;
  pid_t job = fork();
  if (job == 0) {
    signal(SIGTTOU, SIG_DFL);
    setpgid(0, 0);
    tcsetpgrp(0, getpid());
    printf("job\n");
    fflush(stdout);
    char c;
    while (read(0, &c, 1) == 1 && c != 'q') {
    }
    exit(31);
  }
  setpgid(job, job);
  tcsetpgrp(0, job);
  waitpid(job, &status, WUNTRACED);
  tcsetpgrp(0, getpgrp());
  guest_show_status("job", status);
  fflush(stdout);
  kill(-job, SIGCONT);
  waitpid(job, &status, WUNTRACED);  // reads in the background: SIGTTIN
  guest_show_status("job", status);
  fflush(stdout);
  tcsetpgrp(0, job);
  kill(-job, SIGCONT);
  printf("again\n");
  fflush(stdout);
  waitpid(job, &status, WUNTRACED);
  tcsetpgrp(0, getpgrp());
  guest_show_status("job", status);
  fflush(stdout);
  exit(0);
}
static void hangup(void) {
  printf("ready\n");
  fflush(stdout);
  for (;;) pause();
}

static void finish(const char* label, pid_t pid) {
  guest_reap(label, pid);
  tcflush(master, TCIOFLUSH);
  close(master), close(slave);
}

static void start(void) {
  struct winsize size = {24, 80, 0, 0};
  CHECK(openpty(&master, &slave, NULL, NULL, &size) == 0);
}

int main(void) {
  start();
  pid_t pid = on_terminal(cat_lines);
  expect("ready 1 1\r\n");
  type("hellx\bo\177o\n");  // erase: the terminal driver edits the line
  expect("got");
  expect("\n");
  type("\004");
  expect("end of input\r\n");
  finish("cat", pid);
  start();
  pid = on_terminal(wait_for_keys);
  expect("ready\r\n");
  type("\003");
  finish("interrupt", pid);
  start();
  pid = on_terminal(wait_for_keys);
  expect("ready\r\n");
  type("\034");
  finish("quit", pid);
  start();
  pid = on_terminal(window);
  expect("ready\r\n");
  struct winsize size = {50, 132, 0, 0};
  SHOW_RC(ioctl(master, TIOCSWINSZ, &size));
  expect("x 50\r\n");
  finish("window", pid);
  start();
  pid = on_terminal(job_control);
  expect("job\r\n");
  usleep(50000);
  type("\032");
  expect("TSTP\r\n");
  expect("TTIN\r\n");
  expect("again\r\n");
  type("q\n");
  expect("exited 31\r\n");
  finish("job control", pid);
  start();
  pid = on_terminal(hangup);
  expect("ready\r\n");
  close(slave);
  close(master);
  guest_reap("hang up", pid);
  start();
  struct termios raw;
  SHOW_RC(tcgetattr(slave, &raw));
  SHOW((raw.c_lflag & (ICANON | ECHO | ISIG)) == (ICANON | ECHO | ISIG));
  cfmakeraw(&raw);
  SHOW_RC(tcsetattr(slave, TCSANOW, &raw));
  type("\003");
  char c = 0;
  SHOW_RC(read(slave, &c, 1));
  SHOW(c);
  SHOW_RC(tcgetpgrp(slave));
  SHOW_RC(open("/dev/tty", O_RDWR));
  return guest_end();
}
