<?php
require '/srv/php/database.php';

$database = database();
if (($_POST['name'] ?? '') !== '' && ($_POST['words'] ?? '') !== '') {
    $insert = $database->prepare('INSERT INTO guest (name, words) VALUES (?, ?)');
    $insert->bind_param('ss', $_POST['name'], $_POST['words']);
    $insert->execute();
    header('Location: /', true, 303);
    exit;
}
$guests = $database->query('SELECT name, words, written FROM guest ORDER BY id DESC LIMIT 20');
?>
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>Guest book</title>
<link rel="stylesheet" href="/style.css">
</head>
<body>
<h1>Guest book</h1>
<p>This page was made by PHP <?= PHP_VERSION ?> in Apache, from what MariaDB keeps. The same guests
from <a href="/node/">Node.js</a> and from <a href="/python/">Python</a>.</p>
<form method="post">
<input name="name" placeholder="Your name" maxlength="40" required>
<input name="words" placeholder="Your words" maxlength="200" required>
<button>Write</button>
</form>
<ul>
<?php foreach ($guests as $guest): ?>
<li><b><?= htmlspecialchars($guest['name']) ?></b>: <?= htmlspecialchars($guest['words']) ?>
<small><?= $guest['written'] ?></small></li>
<?php endforeach ?>
</ul>
</body>
</html>
