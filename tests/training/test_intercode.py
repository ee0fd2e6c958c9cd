"""InterCode's MySQL dump to SQLite files."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from lumos_edge.sql.database import Database
from lumos_edge.sql.schema import Reference
from training import intercode

DUMP = r"""-- MySQL dump; with a comment
CREATE DATABASE IF NOT EXISTS `zoo` /*!40100 DEFAULT CHARACTER SET utf8mb4 */;
USE `zoo`;
DROP TABLE IF EXISTS `keeper`;
/*!40101 SET @saved_cs_client     = @@character_set_client */;
CREATE TABLE `keeper` (
  `id` int NOT NULL AUTO_INCREMENT,
  `name` varchar(50) COLLATE utf8mb4_general_ci DEFAULT NULL,
  `since` text COLLATE utf8mb4_general_ci NOT NULL,
  PRIMARY KEY (`id`,`since`(255))
) ENGINE=InnoDB AUTO_INCREMENT=3 DEFAULT CHARSET=utf8mb4;
INSERT INTO `keeper` VALUES (1,'O\'Neil; (the \"old\" one)','1999'),(2,'Two\nlines -- no comment','x');
CREATE TABLE `animal` (
  `name` char(20) COLLATE utf8mb4_general_ci NOT NULL,
  `keeper_id` int unsigned DEFAULT NULL,
  KEY `animal_FK` (`keeper_id`),
  CONSTRAINT `animal_FK` FOREIGN KEY (`keeper_id`) REFERENCES `keeper` (`id`)
) ENGINE=InnoDB;
INSERT INTO `animal` VALUES ('Rex',1),('Zoë',NULL),('Bo',2);
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    dump, tasks = tmp_path / "dump.sql", tmp_path / "tasks.json"
    dump.write_text(DUMP, "utf-8")
    task = {
        "db": "zoo",
        "query": "Who keeps Rex?",
        "hardness": "easy",
        "gold": 'SELECT name FROM animal WHERE name = "rex";',
    }
    tasks.write_text(json.dumps([task]))
    monkeypatch.setattr(sys, "argv", ["intercode", str(dump), str(tasks), "-o", str(tmp_path / "out")])
    return tmp_path / "out"


def test_rows_names_and_keys_survive(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    intercode.main()
    assert capsys.readouterr().out == "zoo: 2 tables, 5 rows\n1 tasks\n"
    database = Database.open(folder / "zoo.sqlite")
    assert database.schema.references == (Reference("animal", "keeper_id", "keeper", "id"),)
    assert database.select("SELECT name FROM keeper ORDER BY id").rows == (
        ('O\'Neil; (the "old" one)',),
        ("Two\nlines -- no comment",),
    )
    assert database.select("SELECT keeper_id FROM animal WHERE name = 'Zoë'").rows == ((None,),)


def test_texts_compare_as_in_mysql_and_gold_queries_run(folder: Path) -> None:
    intercode.main()
    (line,) = (folder / "tasks.jsonl").read_text().splitlines()
    task = json.loads(line)
    assert task["sql"] == "SELECT name FROM animal WHERE name = 'rex'"
    assert Database.open(folder / task["db"]).select(task["sql"]).rows == (("Rex",),)


def test_a_row_that_is_lost_is_noticed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intercode, "count_rows", lambda statement: 4)
    with pytest.raises(intercode.DumpError, match="keeper has 2 rows, the dump 4"):
        intercode.main()
    assert not [path for path in folder.iterdir() if "zoo" in path.name]
