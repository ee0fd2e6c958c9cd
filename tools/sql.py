"""Questions to a database, as the agent of InterCode asks them: what tables there are, what is in them, and SELECT.

Source of the statements: InterCode's SQL environment (arXiv 2306.14898), and the annotations of allenai/lumos at
146dd9d, where a fragment of a query is an action too.
"""

from __future__ import annotations

from typing import Annotated

from lumos_edge.sql.checking import is_select
from lumos_edge.sql.database import TIMEOUT_S, Database
from lumos_edge.sql.names import unquote
from lumos_edge.toolbox import Example, tool
from lumos_edge.values import Rows, Text


@tool(
    interface="SQL(statement): Run SHOW TABLES, DESCRIBE a table, or a SELECT on the database; or note a part of one",
    timeout_s=TIMEOUT_S + 2,
)
def SQL(statement: Annotated[str, Database], database: Database) -> Rows | Text:
    if statement == "SHOW TABLES":
        return database.tables()
    if statement.startswith("DESCRIBE "):
        return database.columns(unquote(statement.removeprefix("DESCRIBE ")))
    return database.select(statement) if is_select(statement) else Text(statement)


_SHOPS = (
    "Database: employee(employee_id INT, name TEXT, age INT, city TEXT, shop_id INT); "
    "shop(shop_id INT, shop_name TEXT, district TEXT, n_products INT); employee.shop_id = shop.shop_id"
)
_FILMS = (
    "Database: director(id INT, name TEXT, country TEXT); film(id INT, title TEXT, year INT, minutes INT, genre TEXT, "
    "director_id INT); award(film_id INT, prize TEXT, year INT); film.director_id = director.id; "
    "award.film_id = film.id"
)

EXAMPLES = (
    Example(
        "How many different cities do employees older than 40 live in?",
        (
            (
                "Count the distinct cities of the employees older than 40.",
                "R1 = SQL(SELECT COUNT(DISTINCT city) FROM employee WHERE age > 40)",
                "3",
            ),
        ),
        _SHOPS,
    ),
    Example(
        "Show the name of each shop and how many employees it has.",
        (
            (
                "Join the shops with their employees and count the employees of each shop.",
                "R1 = SQL(SELECT shop.shop_name, COUNT(*) FROM shop JOIN employee ON employee.shop_id = shop.shop_id "
                "GROUP BY shop.shop_id)",
                "(Corner, 4); (Market, 2)",
            ),
        ),
        _SHOPS,
    ),
    Example(
        "What are the youngest and the average age of the employees of each shop in the North?",
        (
            (
                "Join the employees with their shops in the North and select the smallest and the average age of each.",
                "R1 = SQL(SELECT MIN(employee.age), AVG(employee.age) FROM employee JOIN shop ON employee.shop_id = "
                "shop.shop_id WHERE shop.district = 'North' GROUP BY shop.shop_id)",
                "(21, 34.5); (19, 40)",
            ),
        ),
        _SHOPS,
    ),
    Example(
        "List the names and cities of the employees, by the number of products of their shop.",
        (
            (
                "Join the employees with their shops and order their names and cities by the number of products.",
                "R1 = SQL(SELECT employee.name, employee.city FROM employee JOIN shop ON employee.shop_id = "
                "shop.shop_id ORDER BY shop.n_products)",
                "(Ada, Bath); (Tom, York)",
            ),
        ),
        _SHOPS,
    ),
    Example(
        "Which districts have at least two shops?",
        (
            (
                "Group the shops by district and keep the districts with two or more.",
                "R1 = SQL(SELECT district FROM shop GROUP BY district HAVING COUNT(*) >= 2)",
                "North",
            ),
        ),
        _SHOPS,
    ),
    Example(
        "Which countries have directors of both comedies and dramas?",
        (
            (
                "Take the countries of the directors of comedies that are also countries of directors of dramas.",
                "R1 = SQL(SELECT director.country FROM director JOIN film ON film.director_id = director.id "
                "WHERE film.genre = 'comedy' INTERSECT SELECT director.country FROM director JOIN film "
                "ON film.director_id = director.id WHERE film.genre = 'drama')",
                "France, Japan",
            ),
        ),
        _FILMS,
    ),
    Example(
        "Find the names of the directors from Italy whose films won no award.",
        (
            (
                "Select the directors from Italy who are not among the directors of films with an award.",
                "R1 = SQL(SELECT name FROM director WHERE country = 'Italy' AND id NOT IN (SELECT film.director_id "
                "FROM film JOIN award ON award.film_id = film.id))",
                "Carla Rossi",
            ),
        ),
        _FILMS,
    ),
    Example(
        "Which genre has the most films?",
        (
            (
                "Group the films by genre, order the genres by their number of films, and take the first.",
                "R1 = SQL(SELECT genre FROM film GROUP BY genre ORDER BY COUNT(*) DESC LIMIT 1)",
                "drama",
            ),
        ),
        _FILMS,
    ),
    Example(
        "What is the title of the longest drama?",
        (
            (
                "Order the dramas by their minutes, the longest first, and take the first title.",
                "R1 = SQL(SELECT title FROM film WHERE genre = 'drama' ORDER BY minutes DESC LIMIT 1)",
                "Long Winter",
            ),
        ),
        _FILMS,
    ),
    Example(
        "How many films are there of each genre?",
        (
            (
                "Group the films by genre and count the films of each genre.",
                "R1 = SQL(SELECT genre, COUNT(*) FROM film GROUP BY genre)",
                "(comedy, 12); (drama, 31)",
            ),
        ),
        _FILMS,
    ),
    Example(
        "What are the titles and years of the comedies that are shorter than 90 minutes?",
        (
            (
                "Select the title and the year of the comedies with less than 90 minutes.",
                "R1 = SQL(SELECT title, year FROM film WHERE genre = 'comedy' AND minutes < 90)",
                "(Two Left, 1999); (Noon, 2011)",
            ),
        ),
        _FILMS,
    ),
)
