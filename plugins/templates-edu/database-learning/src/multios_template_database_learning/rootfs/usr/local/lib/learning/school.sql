-- A small school, in SQL that MariaDB and PostgreSQL both understand.
CREATE TABLE pupil (
    id INTEGER PRIMARY KEY,
    name VARCHAR(40) NOT NULL,
    born DATE NOT NULL,
    town VARCHAR(40)
);
CREATE TABLE course (
    id INTEGER PRIMARY KEY,
    title VARCHAR(40) NOT NULL,
    teacher VARCHAR(40) NOT NULL
);
CREATE TABLE mark (
    pupil_id INTEGER NOT NULL REFERENCES pupil (id),
    course_id INTEGER NOT NULL REFERENCES course (id),
    points INTEGER NOT NULL CHECK (points BETWEEN 0 AND 100),
    PRIMARY KEY (pupil_id, course_id),
    FOREIGN KEY (pupil_id) REFERENCES pupil (id),
    FOREIGN KEY (course_id) REFERENCES course (id)
);
INSERT INTO pupil (id, name, born, town) VALUES
    (1, 'Ada', '2009-12-10', 'London'),
    (2, 'Alan', '2010-06-23', 'London'),
    (3, 'Chien-Shiung', '2009-05-31', 'Liuhe'),
    (4, 'Emmy', '2010-03-23', 'Erlangen'),
    (5, 'Grace', '2009-12-09', 'New York'),
    (6, 'Srinivasa', '2009-12-22', 'Erode'),
    (7, 'Tycho', '2010-12-14', NULL);
INSERT INTO course (id, title, teacher) VALUES
    (1, 'Mathematics', 'Mr Gauss'),
    (2, 'Physics', 'Ms Meitner'),
    (3, 'Music', 'Mr Bach'),
    (4, 'Latin', 'Ms Hypatia');
INSERT INTO mark (pupil_id, course_id, points) VALUES
    (1, 1, 97), (1, 2, 81), (1, 3, 74),
    (2, 1, 92), (2, 2, 64),
    (3, 1, 83), (3, 2, 99),
    (4, 1, 100), (4, 2, 88), (4, 3, 55),
    (5, 1, 79), (5, 3, 91),
    (6, 1, 100);
