// A database in action: main [FILE [ROWS]]. Two tables, an index, a view, a
// trigger; a row at a time is inserted and they are joined, grouped, changed
// and checked. Every result is printed. Without FILE the database is in memory.
#include "sqlite3.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static sqlite3 *db;

static void fail(const char *what) {
    printf("%s: %s\n", what, sqlite3_errmsg(db));
    exit(1);
}

static int show(void *title, int columns, char **values, char **names) {
    (void)names;
    printf("%s:", (const char *)title);
    for (int i = 0; i < columns; i++) printf("%s%s", i ? "|" : " ", values[i] ? values[i] : "NULL");
    printf("\n");
    return 0;
}

// Executes statements, and prints each row after the title.
static void run(const char *title, const char *sql) {
    if (sqlite3_exec(db, sql, show, (void *)title, 0) != SQLITE_OK) fail(title);
}

static void insert(int rows) {
    sqlite3_stmt *statement;
    const char *sql = "INSERT INTO item (id, owner, name, price) VALUES (?1, ?2, ?3, ?4)";
    if (sqlite3_prepare_v2(db, sql, -1, &statement, 0) != SQLITE_OK) fail("prepare");
    unsigned random = 12345;
    for (int i = 1; i <= rows; i++) {
        char name[32];
        random = random * 1103515245 + 12345;
        snprintf(name, sizeof name, "item-%05u", (random >> 16) % 100000);
        sqlite3_bind_int(statement, 1, i);
        sqlite3_bind_int(statement, 2, i % 7 + 1);
        sqlite3_bind_text(statement, 3, name, -1, SQLITE_TRANSIENT);
        sqlite3_bind_double(statement, 4, (random >> 8) % 10000 / 100.0);
        if (sqlite3_step(statement) != SQLITE_DONE) fail("insert");
        sqlite3_reset(statement);
    }
    if (sqlite3_finalize(statement) != SQLITE_OK) fail("finalize");
}

int main(int argc, char **argv) {
    const char *file = argc > 1 ? argv[1] : ":memory:";
    int rows = argc > 2 ? atoi(argv[2]) : 1000;
    if (sqlite3_open(file, &db) != SQLITE_OK) fail("open");
    printf("SQLite %s\n", sqlite3_libversion());
    run("schema",
        "CREATE TABLE owner (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);"
        "CREATE TABLE item (id INTEGER PRIMARY KEY, owner INTEGER REFERENCES owner,"
        "                   name TEXT, price REAL);"
        "CREATE TABLE log (what TEXT, id INTEGER);"
        "CREATE TRIGGER gone AFTER DELETE ON item BEGIN"
        "  INSERT INTO log VALUES ('deleted', old.id); END;"
        "CREATE VIEW dear AS SELECT * FROM item WHERE price > 90;"
        "INSERT INTO owner (name) VALUES ('Ada'), ('Berta'), ('Carl'), ('Dora'),"
        "  ('Emil'), ('Frieda'), ('Gustav');");
    run("begin", "BEGIN");
    insert(rows);
    run("commit", "COMMIT");
    run("index", "CREATE INDEX by_name ON item (name, price DESC)");
    run("plan", "EXPLAIN QUERY PLAN SELECT price FROM item WHERE name = 'item-00042'");
    run("count", "SELECT count(*), count(DISTINCT name), total(price), avg(price) FROM item");
    run("join",
        "SELECT owner.name, count(*), round(sum(price), 2), max(item.name)"
        " FROM item JOIN owner ON owner.id = item.owner"
        " GROUP BY owner.id HAVING count(*) > 1 ORDER BY sum(price) DESC");
    run("range", "SELECT name, price FROM item WHERE name BETWEEN 'item-10' AND 'item-105' ORDER BY name LIMIT 8");
    run("like", "SELECT id, name FROM item WHERE name LIKE '%777%' ORDER BY id LIMIT 5");
    run("view", "SELECT count(*), min(price) FROM dear");
    run("window",
        "SELECT id, rank() OVER (PARTITION BY owner ORDER BY price DESC) AS place"
        " FROM item WHERE id <= 50 ORDER BY place, id LIMIT 6");
    run("recursive",
        "WITH RECURSIVE fib(n, a, b) AS (SELECT 1, 0, 1 UNION ALL"
        " SELECT n + 1, b, a + b FROM fib WHERE n < 40) SELECT n, a FROM fib WHERE n % 10 = 0");
    run("text",
        "SELECT upper('grüße'), length('grüße'), hex('äb'), substr('abcdef', -3, 2),"
        " printf('%08.3f|%x|%,d', 3.14159, 48879, 1234567), quote(x'00ff'), 7 / 2, 7 / 2.0, 1e300 * 1e10");
    run("date", "SELECT datetime('now', '+1 month', 'weekday 0'), strftime('%j %W', '2024-02-29')");
    run("begin", "BEGIN");
    run("delete", "DELETE FROM item WHERE id % 3 = 0");
    run("deleted", "SELECT count(*), sum(id) FROM log");
    run("rollback", "ROLLBACK");
    run("kept", "SELECT (SELECT count(*) FROM item), (SELECT count(*) FROM log)");
    run("update", "UPDATE item SET price = price * 1.1, name = name || '!' WHERE owner = 3");
    run("updated", "SELECT count(*), round(sum(price), 3) FROM item WHERE name LIKE '%!'");
    run("delete", "DELETE FROM item WHERE owner IN (SELECT id FROM owner WHERE name < 'C')");
    run("vacuum", "VACUUM");
    run("check", "PRAGMA integrity_check");
    if (sqlite3_exec(db, "INSERT INTO owner VALUES (3, 'Nobody')", 0, 0, 0) != SQLITE_OK) {
        printf("refused: %s\n", sqlite3_errmsg(db));
    }
    if (sqlite3_close(db) != SQLITE_OK) fail("close");
    return 0;
}
