// Files for SQLite where its own code for Unix does not build: WASI has no
// locks, owners or modes. One process, so nobody has to be kept out. Time stands
// still and what is random is not: a run repeats exactly.
#include "sqlite3.h"
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

// What a database's path may have.
enum { PATH_BYTES = 512 };

typedef struct File {
    sqlite3_file base;
    int fd;
    // Of a file that goes away when it is closed, else empty.
    char remove[PATH_BYTES + 1];
} File;

static int file_close(sqlite3_file *base) {
    File *file = (File *)base;
    int failed = close(file->fd);
    if (file->remove[0]) unlink(file->remove);
    return failed ? SQLITE_IOERR_CLOSE : SQLITE_OK;
}

static int file_read(sqlite3_file *base, void *to, int count, sqlite3_int64 at) {
    File *file = (File *)base;
    int done = 0;
    while (done < count) {
        ssize_t got = pread(file->fd, (char *)to + done, count - done, at + done);
        if (got < 0) return SQLITE_IOERR_READ;
        if (got == 0) break;
        done += got;
    }
    memset((char *)to + done, 0, count - done);
    return done == count ? SQLITE_OK : SQLITE_IOERR_SHORT_READ;
}

static int file_write(sqlite3_file *base, const void *from, int count, sqlite3_int64 at) {
    File *file = (File *)base;
    for (int done = 0; done < count;) {
        ssize_t put = pwrite(file->fd, (const char *)from + done, count - done, at + done);
        if (put <= 0) return errno == ENOSPC ? SQLITE_FULL : SQLITE_IOERR_WRITE;
        done += put;
    }
    return SQLITE_OK;
}

static int file_truncate(sqlite3_file *base, sqlite3_int64 size) {
    return ftruncate(((File *)base)->fd, size) ? SQLITE_IOERR_TRUNCATE : SQLITE_OK;
}

static int file_sync(sqlite3_file *base, int flags) {
    (void)flags;
    return fsync(((File *)base)->fd) ? SQLITE_IOERR_FSYNC : SQLITE_OK;
}

static int file_size(sqlite3_file *base, sqlite3_int64 *size) {
    struct stat info;
    if (fstat(((File *)base)->fd, &info)) return SQLITE_IOERR_FSTAT;
    *size = info.st_size;
    return SQLITE_OK;
}

static int file_lock(sqlite3_file *base, int level) {
    (void)base, (void)level;
    return SQLITE_OK;
}

static int file_reserved(sqlite3_file *base, int *reserved) {
    (void)base;
    *reserved = 0;
    return SQLITE_OK;
}

static int file_control(sqlite3_file *base, int op, void *argument) {
    (void)base, (void)op, (void)argument;
    return SQLITE_NOTFOUND;
}

static int file_sector(sqlite3_file *base) {
    (void)base;
    return 512;
}

static int file_characteristics(sqlite3_file *base) {
    (void)base;
    return 0;
}

static const sqlite3_io_methods file_methods = {
    1, file_close, file_read, file_write, file_truncate, file_sync, file_size, file_lock,
    file_lock, file_reserved, file_control, file_sector, file_characteristics,
};

static int vfs_open(sqlite3_vfs *vfs, const char *name, sqlite3_file *base, int flags, int *given) {
    (void)vfs;
    File *file = (File *)base;
    memset(file, 0, sizeof *file);
    // A temporary file without a name: the build keeps those in memory.
    if (!name || strlen(name) > PATH_BYTES) return SQLITE_CANTOPEN;
    int mode = flags & SQLITE_OPEN_READWRITE ? O_RDWR : O_RDONLY;
    if (flags & SQLITE_OPEN_CREATE) mode |= O_CREAT;
    if (flags & SQLITE_OPEN_EXCLUSIVE) mode |= O_EXCL;
    file->fd = open(name, mode, 0644);
    if (file->fd < 0) return SQLITE_CANTOPEN;
    if (flags & SQLITE_OPEN_DELETEONCLOSE) strcpy(file->remove, name);
    if (given) *given = flags;
    base->pMethods = &file_methods;
    return SQLITE_OK;
}

static int vfs_delete(sqlite3_vfs *vfs, const char *name, int sync) {
    (void)vfs, (void)sync;
    if (unlink(name) == 0) return SQLITE_OK;
    return errno == ENOENT ? SQLITE_IOERR_DELETE_NOENT : SQLITE_IOERR_DELETE;
}

static int vfs_access(sqlite3_vfs *vfs, const char *name, int what, int *result) {
    (void)vfs;
    struct stat info;
    *result = stat(name, &info) == 0 && (what != SQLITE_ACCESS_EXISTS || info.st_size > 0);
    return SQLITE_OK;
}

static int vfs_path(sqlite3_vfs *vfs, const char *name, int size, char *path) {
    (void)vfs;
    if ((int)strlen(name) >= size) return SQLITE_CANTOPEN;
    strcpy(path, name);
    return SQLITE_OK;
}

static int vfs_random(sqlite3_vfs *vfs, int count, char *bytes) {
    (void)vfs;
    unsigned state = 1;
    for (int i = 0; i < count; i++) {
        state = state * 1664525 + 1013904223;
        bytes[i] = (char)(state >> 24);
    }
    return count;
}

static int vfs_sleep(sqlite3_vfs *vfs, int microseconds) {
    (void)vfs;
    return microseconds;
}

// Noon of the first of January 2000, a Julian day.
static int vfs_time(sqlite3_vfs *vfs, double *days) {
    (void)vfs;
    *days = 2451545.0;
    return SQLITE_OK;
}

static int vfs_error(sqlite3_vfs *vfs, int size, char *text) {
    (void)vfs, (void)size, (void)text;
    return errno;
}

static sqlite3_vfs vfs = {
    .iVersion = 1,
    .szOsFile = sizeof(File),
    .mxPathname = PATH_BYTES,
    .zName = "plain",
    .xOpen = vfs_open,
    .xDelete = vfs_delete,
    .xAccess = vfs_access,
    .xFullPathname = vfs_path,
    .xRandomness = vfs_random,
    .xSleep = vfs_sleep,
    .xCurrentTime = vfs_time,
    .xGetLastError = vfs_error,
};

int sqlite3_os_init(void) {
    return sqlite3_vfs_register(&vfs, 1);
}

int sqlite3_os_end(void) {
    return SQLITE_OK;
}
